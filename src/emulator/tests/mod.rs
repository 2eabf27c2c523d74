//! The promises of the emulator, as a plain WebSocket client sees them.

mod served;
mod world;
