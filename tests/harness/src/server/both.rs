//! Tests that run on either server.

/// Makes a test of each function `fn NAME(Kind)` on each server: `prosody::NAME` and `ejabberd::NAME`.
#[macro_export]
macro_rules! on_both_servers {
    ($($test:ident),+ $(,)?) => {
        mod prosody {
            $(#[test]
            fn $test() {
                super::$test($crate::Kind::Prosody);
            })+
        }
        mod ejabberd {
            $(#[test]
            fn $test() {
                super::$test($crate::Kind::Ejabberd);
            })+
        }
    };
}
