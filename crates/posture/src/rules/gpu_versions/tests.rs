use super::*;

#[test]
fn versions_compare_by_number_and_missing_parts_are_zero() {
    assert_eq!(numbers("v1.17.8-ubuntu20.04"), [1, 17, 8]);
    assert!(at_most(&[1, 19], &[1, 19, 0]));
    assert!(at_most(&[1, 9, 9], &[1, 19, 0]));
    assert!(!at_most(&[1, 19, 1], &[1, 19, 0]));
    assert!(!at_most(&[2], &[1, 19, 0]));
}
