//! Labs: namespaces, topologies, and running a program in a host's namespace.
