package om

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// mostRules bounds the configurations that are kept compiled, in bytes of what
// they were compiled of; beyond it, they are compiled anew.
const mostRules = 32 << 20

// inForce is which configuration a bucket has; the update id 0 is none.
type inForce struct {
	bucket ns.ObjectID
	update uint64
}

// compiled keeps the configurations of buckets as they are asked. It is safe for
// concurrent use.
type compiled struct {
	mu   sync.RWMutex
	sets map[ns.ObjectID]ruleSet // the latest of each bucket
	size int                     // bytes
	most int                     // bytes; 0: mostRules
}

type ruleSet struct {
	update uint64
	rules  *rule.Set
	size   int
}

// get returns what is kept of a bucket's configuration, nil if that is nothing.
func (c *compiled) get(of inForce) *rule.Set {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if set := c.sets[of.bucket]; set.update == of.update {
		return set.rules
	}
	return nil
}

// put compiles a configuration and keeps it.
func (c *compiled) put(of inForce, row *schemapb.LifecycleConfiguration, o rule.Options) *rule.Set {
	set := ruleSet{update: of.update, rules: rule.Compile(row.Rules, o), size: proto.Size(row)}
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.most
	if most == 0 {
		most = mostRules
	}
	if c.sets == nil || c.size+set.size > most {
		c.sets, c.size = map[ns.ObjectID]ruleSet{}, 0
	}
	c.size += set.size - c.sets[of.bucket].size
	c.sets[of.bucket] = set
	return set.rules
}

// rules returns the lifecycle rules of a bucket, nil if it has none or they
// cannot be read. That there are none is remembered like the bucket itself, so
// that it costs the keys of such a bucket nothing.
func (s *Service) rules(volume, bucket string) *rule.Set {
	var row *schemapb.LifecycleConfiguration // if it had to be read
	of, err := s.inForce.get(s.o.Settings, volume+"/"+bucket, func() (of inForce, err error) {
		of, row, err = s.readRules(volume, bucket)
		return of, err
	})
	if err != nil || of.update == 0 {
		return nil
	}
	if set := s.compiled.get(of); set != nil {
		return set
	}
	if row == nil {
		if of, row, err = s.readRules(volume, bucket); err != nil || row == nil {
			return nil
		}
	}
	return s.compiled.put(of, row, rule.Options{Day: s.o.LifecycleDay})
}

// readRules returns the configuration of a bucket, nil if it has none.
func (s *Service) readRules(volume, bucket string) (of inForce, row *schemapb.LifecycleConfiguration, err error) {
	err = s.peek(func(v view.View) error {
		b, err := v.Bucket(volume, bucket)
		if err != nil {
			return err
		}
		of.bucket = b.ID()
		row, _, err = v.Lifecycle(b.ID())
		of.update = row.GetUpdateId()
		return err
	})
	return of, row, err
}
