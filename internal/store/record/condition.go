package record

// Condition is what state a store is in.
type Condition struct {
	// Server names the database's product and version.
	Server string
	// User is who we are to it, empty where there are no users.
	User string
	// Have is the version of its schema, 0 when it has none; Want is the one that this linktrail needs.
	Have, Want int64
	// ReadOnly says why nothing can be written, and is empty when it can.
	ReadOnly string
	// Denied are privileges which User lacks, each as "TABLE PRIVILEGE", such as "links UPDATE", sorted. Not every service
	// needs every one.
	Denied []string
	// OwnsClicks says whether User may make partitions of clicks; true where there are none.
	OwnsClicks bool
}
