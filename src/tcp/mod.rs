//! TCP: smoltcp with one shared interface and one socket set per flow.
