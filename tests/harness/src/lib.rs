//! Real daemons, servers and network namespaces for whole-program tests and the demo.
