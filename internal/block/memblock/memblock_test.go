package memblock

import (
	"testing"

	"o3/internal/block"
	"o3/internal/block/blocktest"
)

func TestContract(t *testing.T) {
	blocktest.Run(t, func(testing.TB) block.Store { return New() })
}
