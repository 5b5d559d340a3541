package client

import (
	"testing"

	o3v1 "o3/api/o3/v1"
)

// TestSlowWriteKeepsItsStamp: however many writes overtake one, it stays within
// what the server remembers of its session.
func TestSlowWriteKeepsItsStamp(t *testing.T) {
	s := newStamps()
	slow := s.begin()
	seen := map[[2]uint64]bool{{slow.ClientId, slow.Sequence}: true}
	for range 10 * window {
		stamp := s.begin()
		at := [2]uint64{stamp.ClientId, stamp.Sequence}
		if seen[at] {
			t.Fatalf("stamp %v was given twice", at)
		}
		seen[at] = true
		if stamp.ClientId == slow.ClientId && (stamp.Acked > slow.Sequence || stamp.Sequence >= slow.Sequence+window) {
			t.Fatalf("%v leaves %v behind", stamp, slow)
		}
		s.end(stamp)
	}
	if n := len(s.mu.open); n != 2 {
		t.Errorf("%d sessions are open, want the slow write's and the present one", n)
	}
	s.end(slow)
	if n := len(s.mu.open); n != 1 {
		t.Errorf("%d sessions are open at the end", n)
	}
}

// TestAckedFollowsTheOldest: an answer is given up when every older write has
// its own.
func TestAckedFollowsTheOldest(t *testing.T) {
	s := newStamps()
	var stamps []*o3v1.Stamp
	for range 4 {
		stamps = append(stamps, s.begin())
	}
	for i, want := range map[int]uint64{1: 1, 2: 1} {
		s.end(stamps[i])
		if got := s.begin().Acked; got != want {
			t.Errorf("acked is %d, want %d", got, want)
		}
	}
	s.end(stamps[0])
	if got := s.begin().Acked; got != 4 {
		t.Errorf("acked is %d, want 4", got)
	}
}
