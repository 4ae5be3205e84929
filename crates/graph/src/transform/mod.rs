//! Transformations: new models from a shaped one.
