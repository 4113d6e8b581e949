//! The Lambda API: routes, invocations, errors, event-stream framing.
