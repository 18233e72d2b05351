//! For authors of Soros policies.
