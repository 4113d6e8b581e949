//! The resolver: what a name means in the VPC, on-premises and in public.
