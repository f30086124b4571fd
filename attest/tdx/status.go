package tdx

import (
	"slices"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Statuses of a platform in Intel's words (PCS API version 4), and of its
// quote verification library for a guest that a restart would put in order.
const (
	UpToDate                             = evidence.UpToDate
	SWHardeningNeeded                    = "SWHardeningNeeded"
	ConfigurationNeeded                  = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded    = "ConfigurationAndSWHardeningNeeded"
	TDRelaunchAdvised                    = "TDRelaunchAdvised"
	TDRelaunchAdvisedConfigurationNeeded = "TDRelaunchAdvisedConfigurationNeeded"
	OutOfDate                            = "OutOfDate"
	OutOfDateConfigurationNeeded         = "OutOfDateConfigurationNeeded"
	Revoked                              = "Revoked"
	Unknown                              = evidence.Unknown
)

// statuses are those that collateral may name.
var statuses = []string{UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked}

func known(status string) bool { return slices.Contains(statuses, status) }

// merge is the status of a platform one part of which has status part: module
// and quoting enclave have no more than UpToDate, OutOfDate and Revoked.
func merge(platform, part string) string {
	switch {
	case platform == Revoked || part == Revoked:
		return Revoked
	case part == UpToDate:
		return platform
	}
	switch platform {
	case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded, TDRelaunchAdvisedConfigurationNeeded:
		return OutOfDateConfigurationNeeded
	}
	return OutOfDate
}

// relaunch is the status of a guest that was built under a module with status
// built, on a platform that would have status now if it were built today.
func relaunch(built, now string) string {
	if built != OutOfDate && built != OutOfDateConfigurationNeeded {
		return built
	}
	switch now {
	case UpToDate, SWHardeningNeeded:
		return TDRelaunchAdvised
	case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded:
		return TDRelaunchAdvisedConfigurationNeeded
	}
	return built
}
