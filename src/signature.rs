//! Standard Webhooks 1.0 signatures: to come.
