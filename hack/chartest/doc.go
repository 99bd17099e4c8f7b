// Package chartest shows every manifest of every chart, with the default values and with each file of values, to a real
// API server: it must apply each, with strict field validation and against the definitions of the custom resources, and it
// must admit each pod where pod security "restricted" is enforced. Helm installs, upgrades and uninstalls there what several
// releases share, the definition of Telemetry objects. No pod is run.
//
// `hack/charts validate` gets what it wants and runs it; the build tag `e2e` keeps it out of `make test`.
package chartest
