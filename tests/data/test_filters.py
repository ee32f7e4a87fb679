import numpy as np
import pytest

from cifarnet.data.filters import blur_matrix, box_matrix, filtered, mirrored


def test_indices_beyond_the_edge_are_mirrored_at_edge_pixels():
    assert mirrored(np.arange(-4, 8), 4).tolist() == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]
    assert mirrored(np.array([-3, 0, 5]), 1).tolist() == [0, 0, 0]


def test_a_blur_of_sigma_0_is_the_identity():
    assert (blur_matrix(5, 0) == np.eye(5)).all()


def test_a_blur_is_a_gaussian_that_keeps_the_mean():
    matrix = blur_matrix(33, 2.0)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(33))
    offsets = np.arange(-8, 9)
    expected = np.exp(-(offsets**2) / 8)
    assert matrix[16, 8:25] == pytest.approx(expected / expected.sum(), rel=1e-5)
    assert matrix[16, :8].max() == 0


def test_a_blur_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).random((1, 20, 20, 1), np.float32)
    for sigma in (0.5, 1.5, 6.0):
        wanted = ndimage.gaussian_filter(image[0, :, :, 0], sigma, mode="mirror", truncate=4.0)
        assert filtered(image, blur_matrix(20, sigma))[0, :, :, 0] == pytest.approx(wanted, abs=2e-3)


def test_boxes_are_means_over_areas():
    assert box_matrix(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert box_matrix(3, 2) == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))
    assert box_matrix(2, 4).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert (box_matrix(6, 6) == np.eye(6)).all()


def test_a_matrix_acts_on_rows_and_columns_of_each_channel():
    images = np.random.default_rng(0).random((3, 6, 6, 2), np.float32)
    wanted = images.reshape(3, 3, 2, 3, 2, 2).mean((2, 4))
    assert filtered(images, box_matrix(6, 3)) == pytest.approx(wanted, abs=1e-6)
