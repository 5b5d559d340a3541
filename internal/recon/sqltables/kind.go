package sqltables

import (
	"errors"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"o3/internal/errs"
)

// kindOf tells what an error of SQLite means.
func kindOf(err error) errs.Kind {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errs.Internal
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_CONSTRAINT:
		return errs.Corrupt
	case lib.SQLITE_FULL:
		return errs.ReadOnly
	}
	return errs.Internal
}
