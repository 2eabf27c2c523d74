//! Operators against a store and sinks that do as a test says.
