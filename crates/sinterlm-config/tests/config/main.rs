//! Loading, refusing and describing one config; these share a binary to link it once.

mod describe;
mod errors;
mod loading;
mod mini;
mod shapes;
