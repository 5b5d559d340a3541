package app

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"o3/internal/errs"
	"o3/internal/image"
)

// consoleFile is the identity of the data directory of a server with the role
// recon alone (docs/formats/recon.md): JSON, format 1.
const consoleFile = image.ReconFile

// consoleIdentity says that a data directory is Recon's.
type consoleIdentity struct {
	Format int    `json:"format"`
	Role   string `json:"role"` // recon
	ID     string `json:"id"`   // random; tells its leases at an OM from those of others
}

const consoleFormat = 1

// openConsoleIdentity takes the data directory for Recon, or checks that it is
// Recon's: one that an OM has is refused.
func (n *node) openConsoleIdentity() error {
	if there, err := exists(n.dir("node")); err != nil {
		return err
	} else if there {
		return errs.New(errs.Invalid, "ozone.metadata.dirs = "+n.cfg.Node.DataDir,
			"it is the data directory of an OM; ozone.server.roles = recon needs one of its own")
	}
	path := n.dir(consoleFile)
	err := n.consoleID.read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, other := range []string{"om", "blocks", "staged"} { // parts of an OM whose identity is gone
		if there, err := exists(n.dir(other)); err != nil {
			return err
		} else if there {
			return errs.New(errs.Invalid, "ozone.metadata.dirs = "+n.cfg.Node.DataDir,
				fmt.Sprintf("it holds %s, which is of an OM; ozone.server.roles = recon needs a directory of its own", other))
		}
	}
	n.consoleID = consoleIdentity{Format: consoleFormat, Role: "recon", ID: rand.Text()}
	raw, err := json.Marshal(n.consoleID)
	if err != nil {
		return err
	}
	return writeFile(path, append(raw, '\n'))
}

// notConsole refuses the data directory of a server with the role recon alone.
func (n *node) notConsole() error {
	there, err := exists(n.dir(consoleFile))
	if err == nil && there {
		err = errs.New(errs.Invalid, "ozone.metadata.dirs = "+n.cfg.Node.DataDir,
			"it is the data directory of a server with ozone.server.roles = recon; an OM needs one of its own")
	}
	return err
}

func (id *consoleIdentity) read(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	var version struct{ Format int } // of a later one nothing else is known
	if json.Unmarshal(raw, &version) == nil && version.Format > consoleFormat {
		return errs.New(errs.FormatTooNew, path, fmt.Sprintf("has format %d, this program knows formats up to %d", version.Format, consoleFormat))
	}
	if err := json.Unmarshal(raw, id); err != nil || id.Format < 1 || id.Role != "recon" || id.ID == "" {
		return errs.New(errs.FormatUnknown, path, "is not the identity of a Recon "+filepath.Base(filepath.Dir(path)))
	}
	return nil
}
