package sqlite

// LatestQuery is for the test that looks at its plan.
var LatestQuery = latestQuery
