//! Security groups and network ACLs: rules as AWS words them, compiled, evaluated.
