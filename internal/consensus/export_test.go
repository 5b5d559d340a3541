package consensus

// Faults are mistakes to plant.
type Faults = faults

// Plant plants f.
func Plant(o *Options, f Faults) { o.faults = f }
