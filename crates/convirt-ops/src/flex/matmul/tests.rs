use std::sync::Mutex;

use super::*;
use crate::kernel::tests::with_each_kernel;
use crate::kernel::{self, Kernel};
use crate::testing::{assert_close, random_values};

const PRECISIONS: [Precision; 3] = [Precision::Float32, Precision::High, Precision::BFloat16];

fn ramp(length: usize, factor: usize) -> Vec<f32> {
    (0..length)
        .map(|i| ((i * factor) % 17) as f32 - 8.0)
        .collect()
}

fn narrow(numbers: &[f32]) -> Vec<bf16> {
    let numbers = numbers
        .iter()
        .map(|number| <bf16 as Element>::round(*number));
    numbers.collect()
}

fn transposed<T: Copy>(numbers: &[T], rows: usize) -> Vec<T> {
    let columns = numbers.len() / rows;
    (0..numbers.len())
        .map(|index| numbers[index % rows * columns + index / rows])
        .collect()
}

/// Products of small whole numbers are exact in any order, and in any precision.
#[test]
fn every_division_among_threads_gives_the_matrix_product() {
    let shapes = [
        [1, 1, 1],
        [3, 5, 2],
        [17, 32, 33],
        [130, 70, 90],
        [9, 300, 400],
        [400, 300, 9],
    ];
    for [m, k, n] in shapes {
        let (a, b) = (ramp(m * k, 7), ramp(k * n, 5));
        let sum = |index: usize| {
            (0..k)
                .map(|j| a[index / n * k + j] * b[j * n + index % n])
                .sum()
        };
        let expected: Vec<f32> = (0..m * n).map(sum).collect();
        let (a_transposed, b_transposed) = (transposed(&a, m), transposed(&b, k));
        let narrowed = [&a, &b, &a_transposed, &b_transposed].map(|numbers| narrow(numbers));
        let lefts = [
            Factor::Float32(Matrix::new(&a, m, k)),
            Factor::Float32(Matrix::new(&a_transposed, k, m).transposed()),
            Factor::BFloat16(Matrix::new(&narrowed[0], m, k)),
            Factor::BFloat16(Matrix::new(&narrowed[2], k, m).transposed()),
        ];
        let rights = [
            Factor::Float32(Matrix::new(&b, k, n)),
            Factor::Float32(Matrix::new(&b_transposed, n, k).transposed()),
            Factor::BFloat16(Matrix::new(&narrowed[1], k, n)),
            Factor::BFloat16(Matrix::new(&narrowed[3], n, k).transposed()),
        ];
        for precision in PRECISIONS {
            with_each_kernel(|| {
                for (way, right) in rights.iter().enumerate() {
                    let right = match way {
                        0 => Right::new(*right, precision, m),
                        _ => Right::on_this_thread(*right, precision, &lefts[0].into()),
                    };
                    for left in lefts {
                        // The last column must not be written.
                        let mut actual = vec![7.5; m * (n + 1)];
                        let mut multiply = |finish, in_parallel: bool| {
                            let output = MatrixMut::strided(&mut actual, m, n, n + 1);
                            if in_parallel {
                                right.parallel_multiply(output, &finish, left);
                            } else {
                                right.multiply(output, &finish, left);
                            }
                            assert!(actual.chunks(n + 1).all(|row| row[n] == 7.5));
                            let rows = actual.chunks(n + 1).flat_map(|row| &row[..n]);
                            rows.copied().collect::<Vec<f32>>()
                        };
                        assert!(multiply(Finish::Replace, false) == expected);
                        let twice = multiply(Finish::Add, true);
                        assert!(twice.iter().zip(&expected).all(|(f, e)| *f == 2.0 * e));
                        let bias: Vec<f32> = (0..n).map(|column| column as f32).collect();
                        let with_bias = multiply(Finish::Bias(&bias), true);
                        let at = |index: usize| expected[index] + bias[index % n];
                        assert!((0..m * n).all(|index| with_bias[index] == at(index)));
                    }
                }
            });
        }
    }
}

/// Each block is passed once, with its place; other sums are rounded to the output's type.
#[test]
fn write_functions_get_every_sum_once_and_outputs_are_rounded() {
    let [m, k, n] = [300, 64, 260];
    let (a, b) = (ramp(m * k, 7), ramp(k * n, 5));
    let left = Factor::Float32(Matrix::new(&a, m, k));
    for precision in PRECISIONS {
        with_each_kernel(|| {
            let right = Right::new(Factor::Float32(Matrix::new(&b, k, n)), precision, m);
            let mut expected = vec![0.0; m * n];
            right.multiply(MatrixMut::new(&mut expected, m, n), &Finish::Replace, left);
            let mut rounded = vec![bf16::ZERO; m * n];
            let output = MatrixMut::new(&mut rounded, m, n);
            right.parallel_multiply(output, &Finish::Replace, left);
            assert!(rounded == narrow(&expected));
            let seen = Mutex::new(vec![0; m * n]);
            let write = |[row, column]: [usize; 2], sums: Matrix, mut output: MatrixMut<bf16>| {
                for index in 0..output.rows() * output.columns() {
                    let (r, c) = (index / output.columns(), index % output.columns());
                    let place = (row + r) * n + column + c;
                    assert_eq!(sums.row(r)[c], expected[place]);
                    seen.lock().unwrap()[place] += 1;
                    output.row_mut(r)[c] = <bf16 as Element>::round(-expected[place]);
                }
            };
            let mut actual = vec![bf16::ZERO; m * n];
            let output = MatrixMut::new(&mut actual, m, n);
            right.parallel_multiply(output, &Finish::With(&write), left);
            assert!(seen.into_inner().unwrap().iter().all(|count| *count == 1));
            assert!(actual.iter().zip(&rounded).all(|(f, r)| *f == -*r));
        });
    }
}

#[test]
fn sums_depend_neither_on_the_number_of_threads_nor_on_other_rows_and_columns() {
    const DEPTH: usize = 1_200;
    // `gemm` adds up outputs of at most 64 rows and columns in another order than larger ones.
    let [m, n] = [48, 150];
    let (a, b) = (random_values(m * DEPTH, 1), random_values(DEPTH * n, 2));
    let (in_rows, in_columns) = (Matrix::new(&b, DEPTH, n), Matrix::new(&b, n, DEPTH));
    for (index, b) in [in_rows, in_columns.transposed()].into_iter().enumerate() {
        for precision in PRECISIONS {
            with_each_kernel(|| {
                let multiply = |rows: Range<usize>, columns: Range<usize>| {
                    let b = b.column_range(columns.clone());
                    let right = Right::new(Factor::Float32(b), precision, rows.len());
                    let mut actual = vec![0.0; rows.len() * columns.len()];
                    let output = MatrixMut::new(&mut actual, rows.len(), columns.len());
                    let left = Factor::Float32(Matrix::new(&a, m, DEPTH).row_range(rows));
                    right.parallel_multiply(output, &Finish::Replace, left);
                    actual
                };
                let context = format!("{index}, {precision:?}, {:?}", kernel::tests::chosen());
                let all = multiply(0..m, 0..n);
                for (rows, columns) in [(3..6, 5..90), (10..48, 33..150)] {
                    let part = multiply(rows.clone(), columns.clone());
                    let expected = rows.flat_map(|row| &all[row * n..][columns.clone()]);
                    assert!(part.iter().eq(expected), "{context} {columns:?}");
                }
                let left = Factor::Float32(Matrix::new(&a, m, DEPTH));
                let right = Right::new(Factor::Float32(b), precision, m);
                let mut on_one_thread = vec![0.0; m * n];
                let output = MatrixMut::new(&mut on_one_thread, m, n);
                right.multiply(output, &Finish::Replace, left);
                assert!(on_one_thread == all, "{context}");
            });
        }
    }
}

/// For every kernel, with fewer and with more columns than a panel.
#[test]
fn matrix_products_of_bfloat16_are_sums_of_products_of_rounded_factors() {
    for [m, k, n] in [
        [1, 1, 1],
        [3, 5, 2],
        [8, 32, 32],
        [9, 33, 31],
        [70, 64, 100],
        [35, 131, 65],
        [600, 160, 34],
    ] {
        let (a, b) = (random_values(m * k, 1), random_values(k * n, 2));
        let (narrow_a, narrow_b): (Vec<bf16>, Vec<bf16>) = (narrow(&a), narrow(&b));
        let expected: Vec<f64> = (0..m * n)
            .map(|index| {
                let product = |j| {
                    let (a, b): (bf16, bf16) =
                        (narrow_a[index / n * k + j], narrow_b[j * n + index % n]);
                    f64::from(a.widen()) * f64::from(b.widen())
                };
                (0..k).map(product).sum()
            })
            .collect();
        let all = with_each_kernel(|| {
            let factors = [
                (
                    Factor::Float32(Matrix::new(&a, m, k)),
                    Factor::Float32(Matrix::new(&b, k, n)),
                ),
                (
                    Factor::BFloat16(Matrix::new(&narrow_a, m, k)),
                    Factor::BFloat16(Matrix::new(&narrow_b, k, n)),
                ),
            ];
            factors.map(|(left, right)| {
                let right = Right::new(right, Precision::BFloat16, m);
                let mut actual = vec![0.0; m * n];
                right.multiply(MatrixMut::new(&mut actual, m, n), &Finish::Replace, left);
                actual
            })
        });
        for (kernel, [actual, of_rounded]) in all {
            let context = format!("{m} × {k} × {n}, {kernel}");
            assert_close(&actual, &expected, 1e-6, &context);
            assert!(actual == of_rounded, "{context}");
        }
    }
}

/// Errors relative to the root mean square of the exact products: their own root mean square, and
/// the largest.
fn errors(actual: &[f32], exact: &[f64]) -> [f64; 2] {
    let scale = (exact.iter().map(|e| e * e).sum::<f64>() / exact.len() as f64).sqrt();
    let errors = actual
        .iter()
        .zip(exact)
        .map(|(f, e)| (f64::from(*f) - e).abs() / scale);
    let errors: Vec<f64> = errors.collect();
    let squares = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
    [squares.sqrt(), errors.into_iter().fold(0.0, f64::max)]
}

/// The documented errors of each precision, for matrices of normally distributed numbers.
#[test]
fn six_products_of_parts_are_as_exact_as_float32_and_three_nearly_so() {
    let [m, n] = [40, 48];
    for k in [256, 1_024, 4_096] {
        // Sums of twelve uniform numbers are close to normal.
        let normal = |count: usize, seed| {
            let uniform = random_values(12 * count, seed);
            uniform
                .chunks(12)
                .map(|part| part.iter().sum())
                .collect::<Vec<f32>>()
        };
        let (a, b) = (normal(m * k, 1), normal(k * n, 2));
        let exact: Vec<f64> = (0..m * n)
            .map(|index| {
                let product = |j| f64::from(a[index / n * k + j]) * f64::from(b[j * n + index % n]);
                (0..k).map(product).sum()
            })
            .collect();
        let by_kernel = with_each_kernel(|| {
            PRECISIONS.map(|precision| {
                let right = Factor::Float32(Matrix::new(&b, k, n));
                let right = Right::new(right, precision, m);
                let mut actual = vec![0.0; m * n];
                let output = MatrixMut::new(&mut actual, m, n);
                right.multiply(
                    output,
                    &Finish::Replace,
                    Factor::Float32(Matrix::new(&a, m, k)),
                );
                errors(&actual, &exact)
            })
        });
        for (kernel, [float32, high, bfloat16]) in by_kernel {
            println!("{k} deep, {kernel}: {float32:?} {high:?} {bfloat16:?}");
            // One running sum of float32, rounded k times, is off by about √k · 2⁻²⁵.
            let bound = 2.0 * (k as f64).sqrt() * 2f64.powi(-25);
            assert!(
                float32[0] < bound && float32[1] < 5.0 * bound,
                "{k}, {kernel}: {float32:?}"
            );
            assert!(high[0] < 8e-6 && high[1] < 4e-5, "{k}, {kernel}: {high:?}");
            assert!(
                bfloat16[0] < 3e-3 && bfloat16[1] < 1.5e-2,
                "{k}, {kernel}: {bfloat16:?}"
            );
            if kernel == Kernel::Amx {
                assert!(float32[0] < 6e-7 && float32[1] < 4e-6, "{k}: {float32:?}");
                assert!(
                    high[0] > 1e-6 && bfloat16[0] > 1e-3,
                    "the parts say which is which"
                );
            }
        }
    }
}

/// Whole matrix products, with packing and division into blocks.
#[test]
fn model_and_instructions_agree_to_the_bit() {
    let Some(kernel) = PairKernel::tiles() else {
        return println!("skipped: no AMX");
    };
    let [m, k, n] = [45, 100, 70];
    let (a, b) = (random_values(m * k, 1), random_values(k * n, 2));
    for parts in 1..=3 {
        let [actual, model] = [kernel, PairKernel::Model].map(|kernel| {
            let right = Factor::Float32(Matrix::new(&b, k, n));
            let right = Right::for_multiplier(Multiplier::Parts(kernel, parts), right, true);
            let mut actual = vec![0.0; m * n];
            let output = MatrixMut::new(&mut actual, m, n);
            right.multiply(
                output,
                &Finish::Replace,
                Factor::Float32(Matrix::new(&a, m, k)),
            );
            actual
        });
        assert!(actual == model, "{parts} parts");
    }
}

#[test]
fn nan_and_infinity_are_not_hidden() {
    for special in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut a = vec![1.0; 40 * 64];
        a[3 * 64 + 5] = special;
        let b = vec![1.0; 64 * 33];
        for precision in PRECISIONS {
            let all = with_each_kernel(|| {
                let right = Right::new(Factor::Float32(Matrix::new(&b, 64, 33)), precision, 40);
                let mut actual = vec![0.0; 40 * 33];
                let left = Factor::Float32(Matrix::new(&a, 40, 64));
                right.multiply(MatrixMut::new(&mut actual, 40, 33), &Finish::Replace, left);
                actual
            });
            for (kernel, actual) in all {
                for (row, actual) in actual.chunks(33).enumerate() {
                    let is_right = |sum: &f32| match (row, special) {
                        (3, f32::MAX) if precision == Precision::Float32 => *sum == f32::MAX,
                        // Rounded to 16 bits it may become infinity.
                        (3, f32::MAX) if precision == Precision::High => *sum >= f32::MAX,
                        (3, _) => !sum.is_finite(),
                        _ => *sum == 64.0,
                    };
                    let context =
                        format!("{special} {precision:?} {kernel}: row {row}, {actual:?}");
                    assert!(actual.iter().all(is_right), "{context}");
                }
            }
        }
    }
}

#[test]
fn only_the_given_columns_are_written() {
    let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
    let mut output = [0.0f32; 6];
    let parts = MatrixMut::strided(&mut output, 2, 2, 3).column_chunks(1);
    for (column, part) in parts.into_iter().enumerate() {
        let b = Matrix::new(&b, 1, 2).column_range(column..column + 1);
        matmul_float32(part, Output::Replace, Matrix::new(&a, 2, 1), b);
    }
    assert_eq!(output, [3.0, 4.0, 0.0, 6.0, 8.0, 0.0]);
}

#[test]
#[should_panic(expected = "shapes of a matrix product")]
fn shapes_that_do_not_fit_panic() {
    let mut output = [0.0; 4];
    let right = Right::new(
        Factor::Float32(Matrix::new(&[0.0; 6], 3, 2)),
        Precision::Float32,
        2,
    );
    let left = Factor::Float32(Matrix::new(&[0.0; 4], 2, 2));
    right.multiply(MatrixMut::new(&mut output, 2, 2), &Finish::Replace, left);
}
