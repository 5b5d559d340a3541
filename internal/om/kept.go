package om

import "sync"

// keptMost bounds what one kept holds; beyond it, it starts anew.
const keptMost = 10_000

// kept remembers what was read of settings while they stay the same. It is safe
// for concurrent use.
type kept[T any] struct {
	mu    sync.RWMutex
	epoch uint64
	m     map[string]T
}

// get returns what load returned under the present epoch, or asks it. Errors
// are not kept. Without an epoch nothing is.
func (k *kept[T]) get(epoch func() uint64, name string, load func() (T, error)) (T, error) {
	if epoch == nil {
		return load()
	}
	now := epoch() // before the read: what is read may be newer, never older
	k.mu.RLock()
	value, ok := k.m[name]
	ok = ok && k.epoch == now
	k.mu.RUnlock()
	if ok {
		return value, nil
	}
	value, err := load()
	if err != nil {
		return value, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil || k.epoch < now || len(k.m) >= keptMost {
		k.m, k.epoch = map[string]T{}, max(now, k.epoch)
	}
	if k.epoch == now {
		k.m[name] = value
	}
	return value, nil
}
