// Command overtaken has the mistake that TestDisturb wants to see: a change is visible
// before it is told.
package main

import (
	"fmt"
	"sync"
)

func main() {
	for range 1000 {
		if !inOrder() {
			fmt.Println("wrong")
			return
		}
	}
	fmt.Println("right")
}

func inOrder() bool {
	var state, told sync.Mutex
	var changed bool
	var lines []string
	tell := func(line string) {
		told.Lock()
		lines = append(lines, line)
		told.Unlock()
	}
	var both sync.WaitGroup
	both.Go(func() {
		state.Lock()
		changed = true
		state.Unlock()
		tell("changed")
	})
	both.Go(func() {
		for seen := false; !seen; {
			state.Lock()
			seen = changed
			state.Unlock()
		}
		tell("seen")
	})
	both.Wait()
	return lines[0] == "changed"
}
