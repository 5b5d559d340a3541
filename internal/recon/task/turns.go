package task

import "context"

// turns are those of one worker.
type turns struct {
	o     RebuildOptions
	batch *int // rows of the batch that is read
	done  func()
}

// next ends the turn and waits for another.
func (t *turns) next(ctx context.Context) error {
	t.end()
	*t.batch = batchRows
	if t.o.Turn == nil {
		return nil
	}
	rows, done, err := t.o.Turn(ctx)
	if err != nil {
		return err
	}
	t.done = done
	if rows > 0 {
		*t.batch = rows
	}
	return nil
}

// end ends the turn, if there is one.
func (t *turns) end() {
	if t.done != nil {
		t.done()
		t.done = nil
	}
}
