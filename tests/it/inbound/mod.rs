//! The doors for other people's events: the published vectors of every provider and what is
//! derived from them, handshakes, repetitions, limits, and the management of sources.
mod doors;
mod files;
mod house;
mod limits;
mod manage;
mod uses;
mod vectors;
mod verify;
