//! The handle types of isl, which all own one reference.

/// A type whose value owns a reference to an isl object, and its context.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $raw:ident, $free:ident) => {
        $(#[$doc])*
        pub struct $name {
            raw: NonNull<ffi::$raw>,
            ctx: Ctx,
        }

        impl $name {
            /// Takes a result of isl: null is the error of the call that made it.
            fn own(ctx: &Ctx, raw: *mut ffi::$raw) -> Result<$name> {
                match NonNull::new(raw) {
                    Some(raw) => Ok($name { raw, ctx: ctx.clone() }),
                    None => Err(ctx.take_error()),
                }
            }

            fn keep(&self) -> *mut ffi::$raw {
                self.raw.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the reference this handle owns.
                unsafe { ffi::$free(self.raw.as_ptr()) };
            }
        }
    };
}

pub(super) use owned;
