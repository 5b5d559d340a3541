package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"o3/internal/errs"
	"o3/internal/image"
)

type omRollback struct {
	Data string `required:"" placeholder:"DIR" help:"Data directory of the node, whose server must not run."`
}

// Help tells until when it can be done.
func (c *omRollback) Help() string {
	return "A bootstrap and an import with --replace keep the state that they replace in DIR/previous. It can be put back until a server has started on the new state: what is written from then on is in the new state only, and the previous one is removed. " +
		"The new state goes to DIR/staged, where it may be removed. A rollback that is cut off is completed by the next start or command on DIR."
}

// Run puts the previous state back.
func (c *omRollback) Run(_ context.Context, s *Session) (err error) {
	dir, err := filepath.Abs(s.path(c.Data))
	if err != nil {
		return errs.Wrap(errs.Internal, c.Data, err)
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return errs.New(errs.Invalid, "--data "+c.Data, "there is no such directory")
	}
	at, err := image.Take(nil, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	s.recovered(at.Recovered())
	st, err := at.Status()
	if err != nil {
		return err
	}
	if err := at.Rollback(); err != nil {
		return err
	}
	type rolledBack struct {
		Data string `json:"data"`
		Plan string `json:"plan"`
		Why  string `json:"why"`
	}
	return s.doneAs(rolledBack{dir, st.Plan.ID, st.Plan.Why}, "The state from before the switch to %s is in force again; that one is in %s now, which can be removed.", st.Plan.Why, filepath.Join(dir, image.StagedDir))
}
