package app

import (
	"context"
	"io"

	"o3/internal/config"
)

// opening returns what opens the parts of the server, in order.
func (n *node) opening() []func() error {
	if !n.cfg.Node.Has(config.RoleOM) { // Recon alone
		return []func() error{n.takeData, n.openConsoleIdentity, n.openTracing, n.openAudit, n.openRecon, n.listen}
	}
	return []func() error{
		n.checkGroup, n.takeData, n.notConsole, n.openIdentity, n.openTracing, n.openAudit, n.openStore, n.openBlocks,
		n.openLog, n.openImages, n.makeServices, n.openTransfers, n.makeEdges, n.openRecon, n.listen,
	}
}

// begin makes the server ready to serve.
func (n *node) begin(ctx context.Context, out io.Writer) error {
	if n.cfg.Node.Has(config.RoleOM) {
		return n.firstStart(ctx, out)
	}
	return n.serves()
}

// watch ends when a component has failed for good.
func (n *node) watch(ctx context.Context) error {
	select {
	case err := <-n.halted:
		return err
	case <-ctx.Done():
		return nil
	}
}
