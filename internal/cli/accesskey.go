package cli

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
)

type accessKeyCmd struct {
	Create accessKeyCreate `cmd:"" help:"Create an access key; its secret is shown only now."`
	List   accessKeyList   `cmd:"" help:"List access keys."`
	Revoke accessKeyRevoke `cmd:"" help:"Make an access key useless for good."`
	Reset  accessKeyReset  `cmd:"" help:"Give an access key a new secret; it is shown only now."`
}

type accessKeyCreate struct {
	User        string `required:"" placeholder:"NAME" help:"Whom the key is for."`
	Description string `placeholder:"TEXT" help:"What it is for."`
	ID          string `name:"id" placeholder:"ID" help:"Bring an id along; with --secret. The default is a new one."`
	Secret      string `placeholder:"SECRET" help:"Bring a secret along."`
}

// Run creates the key.
func (c *accessKeyCreate) Run(ctx context.Context, s *Session) error {
	if (c.ID == "") != (c.Secret == "") {
		return errs.New(errs.Invalid, "--id and --secret", "go together; one of them is missing")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{User: c.User, Description: c.Description, Id: c.ID, Secret: c.Secret})
	if err != nil {
		return err
	}
	return s.showSecret(r.Key)
}

// showSecret prints a key with its secret.
func (s *Session) showSecret(k *o3v1.AccessKeyInfo) error {
	return s.describe(k, field{"Access key", k.Id}, field{"Secret", k.Secret}, field{"User", k.User}, field{"Description", k.Description})
}

type accessKeyList struct {
	User string `placeholder:"NAME" help:"Only this user's keys."`
}

// Run lists the keys.
func (c *accessKeyList) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("ID", "USER", "STATE", "CREATED", "DESCRIPTION")
	for k, err := range o3.AccessKeys(ctx, &o3v1.ListAccessKeysRequest{User: c.User}) {
		if err != nil {
			return err
		}
		state := "good"
		if k.Revoked {
			state = "revoked"
		}
		if err := t.row(k, k.Id, k.User, state, when(k.CreatedMs), k.Description); err != nil {
			return err
		}
	}
	if c.User != "" && t.rows == 0 {
		if err := userExists(ctx, o3, c.User); err != nil {
			return err
		}
	}
	return t.end()
}

// userExists refuses a user there is not. Who may not list users was answered
// about itself, which exists.
func userExists(ctx context.Context, o3 *client.Client, name string) error {
	for u, err := range o3.Users(ctx, &o3v1.ListUsersRequest{}) {
		if errs.KindOf(err) == errs.Denied {
			return nil
		}
		if err != nil {
			return err
		}
		if u.Name == name {
			return nil
		}
	}
	return errs.New(errs.NoSuchPrincipal, "user "+name, "")
}

type accessKeyRevoke struct {
	ID string `arg:"" name:"id" help:"Id of the key"`
}

// Run revokes the key.
func (c *accessKeyRevoke) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.RevokeAccessKey(ctx, &o3v1.RevokeAccessKeyRequest{Id: c.ID})
	if err != nil {
		return err
	}
	return s.done(r, "Revoked access key %s.", c.ID)
}

type accessKeyReset struct {
	ID   string `arg:"" optional:"" name:"id" help:"Id of the key"`
	Root bool   `help:"The root key of the server on this machine; its root-credentials file is updated too."`
}

// Help says what to do when no key works any more.
func (c *accessKeyReset) Help() string {
	return "Where no key works any more, or the server does not run: start it once with O3_ROOT_ACCESS_KEY and " +
		"O3_ROOT_SECRET_KEY in its environment; it makes them the root key."
}

// Run resets the key.
func (c *accessKeyReset) Run(ctx context.Context, s *Session) error {
	if c.Root == (c.ID != "") {
		return errs.New(errs.Invalid, "the key to reset", "give either its id or --root")
	}
	var file string
	if c.Root {
		var err error
		if file, err = s.credentialsFile(); err != nil {
			return err
		}
		have, err := client.ReadCredentials(file)
		if err != nil {
			return err
		}
		c.ID = have.AccessKey
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	user, description, err := ownerOf(ctx, o3, c.ID)
	if err != nil {
		return err
	}
	r, err := o3.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{Id: c.ID, User: user, Description: description, Replace: true})
	if err != nil {
		return err
	}
	if err := s.showSecret(r.Key); err != nil { // first of all: nobody can ask for it again
		return err
	}
	if c.Root {
		return client.WriteCredentials(file, client.Credentials{AccessKey: r.Key.Id, SecretKey: r.Key.Secret})
	}
	return nil
}

// ownerOf finds an access key.
func ownerOf(ctx context.Context, o3 *client.Client, id string) (user, description string, err error) {
	for k, err := range o3.AccessKeys(ctx, &o3v1.ListAccessKeysRequest{}) {
		if err != nil {
			return "", "", err
		}
		if k.Id == id {
			return k.User, k.Description, nil
		}
	}
	return "", "", errs.New(errs.NoSuchPrincipal, "access key "+id, "")
}
