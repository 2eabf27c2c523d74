//! To come.

mod check;
mod emulate;
