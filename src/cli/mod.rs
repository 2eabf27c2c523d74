//! To come.

mod check;
