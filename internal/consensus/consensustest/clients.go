package consensustest

import (
	"errors"
	"fmt"

	"o3/internal/consensus"
)

// Op is a client's operation, under way until Done.
type Op struct {
	ID       string
	Register string
	Write    bool
	Value    string // written
	Out      string // the old value of a write, the value read
	Node     uint64 // asked
	Done     bool
	Err      error // set: it did not happen, unless Unknown
	Unknown  bool  // whether it happened is not known

	client   int
	call     int64
	node     *consensus.Node
	proposal *consensus.Proposal
	read     *consensus.Read
	index    uint64 // of a read that waits to be applied
}

// Write asks a node to write a register; the value must be unique.
func (c *Cluster) Write(node uint64, register, value string) *Op {
	c.opCount++
	op := &Op{ID: fmt.Sprintf("w%d", c.opCount), Register: register, Write: true, Value: value}
	return c.begin(op, node)
}

// Read asks a node for a register.
func (c *Cluster) Read(node uint64, register string) *Op {
	c.opCount++
	return c.begin(&Op{ID: fmt.Sprintf("r%d", c.opCount), Register: register}, node)
}

func (c *Cluster) begin(op *Op, node uint64) *Op {
	// Answers come at even times, calls after them at odd ones.
	op.Node, op.call, op.client = node, c.now*2+1, c.opCount
	op.node = c.members[node].Node()
	if op.node == nil {
		op.Done, op.Err = true, errors.New("the node is down")
		return op
	}
	if op.Write {
		op.proposal = op.node.Submit(fmt.Appendf(nil, "%s %s %s", op.ID, op.Register, op.Value))
	} else {
		op.read = op.node.SubmitRead()
	}
	c.ops = append(c.ops, op)
	return op
}

// settleOps looks at what is under way.
func (c *Cluster) settleOps() {
	kept := c.ops[:0]
	for _, op := range c.ops {
		if c.settle(op); op.Done {
			if op.Err == nil || op.Unknown && op.Write {
				c.Oracle.finished(op, c.now*2)
			}
			continue
		}
		kept = append(kept, op)
	}
	clear(c.ops[len(kept):])
	c.ops = kept
}

func (c *Cluster) settle(op *Op) {
	m := c.members[op.Node]
	alive := m.Node() == op.node
	if op.Write {
		select {
		case <-op.proposal.Done():
		default:
			if !alive {
				op.Done, op.Unknown, op.Err = true, true, errors.New("the node died")
			}
			return
		}
		result, err := op.proposal.Result()
		op.Done, op.Out, op.Err = true, string(result), err
		op.Unknown = errors.Is(err, consensus.ErrOutcomeUnknown)
		return
	}
	if !alive {
		op.Done, op.Err = true, errors.New("the node died")
		return
	}
	if op.index == 0 {
		select {
		case <-op.read.Done():
		default:
			return
		}
		if op.index, op.Err = op.read.Result(); op.Err != nil {
			op.Done = true
			return
		}
	}
	if op.node.Applied() >= op.index {
		op.Done, op.Out = true, m.Machine.Get(op.Register)
	}
}
