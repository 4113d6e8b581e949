//! Policies: documents, evaluation, and the `Permit` that alone opens the way to an invocation.
