//! The tunnel: ESP in UDP, sequence and replay windows, path emulation.
