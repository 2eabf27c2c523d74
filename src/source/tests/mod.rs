//! The promises of the source: over a scripted pipe in paused time, and against the emulator.

mod emulated;
mod piped;
mod trusted;
