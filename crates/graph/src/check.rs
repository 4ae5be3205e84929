//! What every model must satisfy, before and after each transformation.
