package router

// RenewVerdicts does at once what Run does now and then.
func (r *Router) RenewVerdicts() { r.renewVerdicts() }
