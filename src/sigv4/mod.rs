//! SigV4: canonical request, signature, principal, or whose fault it was.
