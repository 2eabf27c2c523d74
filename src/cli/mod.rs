//! To come.

mod emulate;
