package recon

// Resting reports whether the breaker holds the stage up and no thread of it reads.
func (s *Service) Resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage != nil && s.stage.paused != nil && s.stage.turns == 0
}
