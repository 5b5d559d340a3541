package main

import (
	"fmt"
	"testing"
)

// TestTypical: what Recon costs is told by the round in the middle, of an even
// number by the worse of two, in whatever order they came.
func TestTypical(t *testing.T) {
	for _, c := range []struct {
		shares []float64
		want   float64
	}{
		{[]float64{0.9}, 0.9},
		{[]float64{0.8, 0.95}, 0.8},
		{[]float64{0.95, 0.8}, 0.8},
		{[]float64{0.7, 0.99, 0.9}, 0.9},
		{[]float64{0.99, 0.6, 0.9, 0.8}, 0.8},
	} {
		var all []costTime
		for i, s := range c.shares {
			all = append(all, costTime{Where: fmt.Sprint(i), Alone: 1000 * float64(i+1), Beside: 1000 * float64(i+1) * s})
		}
		one := typical(all)
		if got := one.Beside / one.Alone; fmt.Sprintf("%.2f", got) != fmt.Sprintf("%.2f", c.want) {
			t.Errorf("of %v: %.2f, want %.2f", c.shares, got, c.want)
		}
	}
}
