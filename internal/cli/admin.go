package cli

import (
	"context"

	o3v1 "o3/api/o3/v1"
)

type adminCmd struct {
	Status statusCmd    `cmd:"" help:"The state of the server at a glance; the exit code serves a monitor."`
	User   userCmd      `cmd:"" help:"Users own things and have access keys."`
	Key    accessKeyCmd `cmd:"" help:"Access keys sign requests for a user."`
	Block  blockCmd     `cmd:"" help:"The store of bytes."`
	OM     omCmd        `cmd:"" name:"om" help:"Images of a node: backup and restore."`

	Namespace namespaceCmd `cmd:"" help:"Totals of the namespace, as Recon knows them."`
	Lifecycle lifecycleCmd `cmd:"" help:"The scans that make lifecycle rules happen: where they stand, what they would do."`
	Recon     reconCmd     `cmd:"" help:"What follows the OM and answers questions about all of its namespace."`
	Staging   stagingCmd   `cmd:"" help:"How Recon makes new states of its tables beside those that serve."`
}

type userCmd struct {
	Create userCreate `cmd:"" help:"Create a user."`
	List   userList   `cmd:"" help:"List the users."`
	Update userUpdate `cmd:"" help:"Change the role of a user, disable or enable it."`
	Delete userDelete `cmd:"" help:"Delete a user and its access keys."`
}

type userCreate struct {
	Name string `arg:"" help:"Name of the user"`
	Role string `default:"user" enum:"admin,user" help:"admin may do everything; user what ownership and grants allow."`
}

// Run creates the user.
func (c *userCreate) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.CreateUser(ctx, &o3v1.CreateUserRequest{User: c.Name, Role: c.Role})
	if err != nil {
		return err
	}
	return s.done(r.User, "Created user %s, role %s.", r.User.Name, r.User.Role)
}

type userList struct{}

// Run lists the users.
func (c *userList) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("NAME", "ROLE", "STATE", "CREATED")
	for u, err := range o3.Users(ctx, &o3v1.ListUsersRequest{}) {
		if err != nil {
			return err
		}
		state := "enabled"
		if u.Disabled {
			state = "disabled"
		}
		if err := t.row(u, u.Name, u.Role, state, when(u.CreatedMs)); err != nil {
			return err
		}
	}
	return t.end()
}

type userUpdate struct {
	Name    string `arg:"" help:"Name of the user"`
	Role    string `enum:"admin,user," default:"" help:"New role: admin or user."`
	Disable bool   `help:"Refuse the user's requests." xor:"able"`
	Enable  bool   `help:"Accept them again." xor:"able"`
}

// Run changes the user.
func (c *userUpdate) Run(ctx context.Context, s *Session) error {
	q := &o3v1.UpdateUserRequest{User: c.Name}
	if c.Role != "" {
		q.Role = &c.Role
	}
	if c.Disable || c.Enable {
		q.Disabled = &c.Disable
	}
	if q.Role == nil && q.Disabled == nil {
		return nothingToChange("--role, --disable or --enable")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.UpdateUser(ctx, q)
	if err != nil {
		return err
	}
	return s.done(r.User, "Updated user %s.", r.User.Name)
}

type userDelete struct {
	Name string `arg:"" help:"Name of the user"`
}

// Run deletes the user.
func (c *userDelete) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.DeleteUser(ctx, &o3v1.DeleteUserRequest{User: c.Name})
	if err != nil {
		return err
	}
	return s.done(r, "Deleted user %s.", c.Name)
}

type blockCmd struct {
	Status blockStatus `cmd:"" help:"What the store of bytes holds, and what the last scrub found."`
	Scrub  blockScrub  `cmd:"" help:"Start reading every block and comparing its checksums."`
}

type blockStatus struct{}

// Run shows the block store.
func (c *blockStatus) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	b, err := o3.BlockStatus(ctx, &o3v1.BlockStatusRequest{})
	if err != nil {
		return err
	}
	if b.Damaged > 0 || b.Failed {
		s.code = ExitCorrupt
	}
	fields := []field{
		{"Engine", b.Engine}, {"State", blockState(b)}, {"Containers", b.Containers}, {"Blocks", b.Blocks},
		{"Live bytes", size(b.LiveBytes)}, {"Dead bytes", size(b.DeadBytes)}, {"Scrub", scrubState(b)},
		{"Scrubbed", size(b.ScrubBytes)}, {"Damaged", b.Damaged},
	}
	for _, d := range b.Damage {
		fields = append(fields, field{"Damage", d})
	}
	return s.describe(b, fields...)
}

func blockState(b *o3v1.BlockStatusResponse) string {
	switch {
	case b.Failed:
		return "failed"
	case b.ReadOnly:
		return "read-only"
	}
	return "good"
}

func scrubState(b *o3v1.BlockStatusResponse) string {
	switch {
	case b.ScrubRunning:
		return "running since " + when(b.ScrubStartedMs)
	case b.ScrubFinishedMs > 0:
		return "finished " + when(b.ScrubFinishedMs)
	}
	return "never"
}

type blockScrub struct{}

// Run starts a scrub.
func (c *blockScrub) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.StartScrub(ctx, &o3v1.StartScrubRequest{})
	if err != nil {
		return err
	}
	return s.done(r, "The scrub is under way; o3 admin block status shows it.")
}
