"""
The functions of TensorFlow that a file of Keras 2 may call: each only computes.

Each function is listed, since a namespace may contain others:
`tf.nn.fixed_unigram_candidate_sampler` reads a file.
"""

_BY_NAMESPACE = {
    "": """
        abs acos acosh add add_n argmax argmin argsort as_string asin asinh atan atan2 atanh
        batch_to_space bitcast boolean_mask broadcast_to cast ceil clip_by_norm clip_by_value
        complex concat constant convert_to_tensor cos cosh cumprod cumsum depth_to_space div
        div_no_nan divide einsum ensure_shape equal erf exp expand_dims expm1
        extract_image_patches eye fill floor floor_div floordiv floormod gather gather_nd greater
        greater_equal identity is_finite is_inf is_nan less less_equal linspace log log1p
        log_sigmoid logical_and logical_not logical_or logical_xor matmul matrix_band_part
        matrix_diag matrix_transpose maximum meshgrid minimum mod multiply negative norm not_equal
        one_hot ones ones_like pad pow random_normal random_uniform range rank realdiv reciprocal
        reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
        reduce_sum repeat reshape reverse reverse_sequence reverse_v2 rint roll round rsqrt
        saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape sigmoid sign sin sinh
        size slice sort space_to_batch space_to_depth split sqrt square squared_difference squeeze
        stack stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add
        tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update
        tensordot tile to_double to_float to_int32 to_int64 transpose truediv truncatediv
        truncatemod unstack where where_v2 zeros zeros_like
    """,
    "__operators__": "add eq getitem ne",
    "audio": "decode_wav",
    "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
        combined_non_max_suppression convert_image_dtype crop_and_resize crop_to_bounding_box
        decode_and_crop_jpeg decode_bmp decode_gif decode_image decode_jpeg decode_png
        draw_bounding_boxes extract_glimpse extract_patches flip_left_right flip_up_down
        grayscale_to_rgb hsv_to_rgb image_gradients non_max_suppression non_max_suppression_padded
        non_max_suppression_with_scores pad_to_bounding_box per_image_standardization psnr
        random_brightness random_contrast random_crop random_flip_left_right random_flip_up_down
        random_hue random_saturation resize resize_area resize_bicubic resize_bilinear
        resize_image_with_crop_or_pad resize_image_with_pad resize_images resize_nearest_neighbor
        resize_with_crop_or_pad resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv
        rot90 sobel_edges ssim total_variation transpose yiq_to_rgb yuv_to_rgb
    """,
    "io": "decode_base64 decode_image decode_jpeg decode_png decode_raw",
    "keras.activations": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign
        swish tanh
    """,
    "keras.backend": """
        abs all any argmax argmin batch_dot batch_flatten bias_add cast clip concatenate conv1d
        conv2d conv3d cos cumprod cumsum depthwise_conv2d dot elu equal exp expand_dims flatten
        gather greater greater_equal hard_sigmoid l2_normalize less less_equal log max maximum
        mean min minimum not_equal one_hot ones_like permute_dimensions pool2d pool3d pow prod
        random_normal random_uniform relu repeat repeat_elements reshape resize_images
        resize_volumes reverse round shape sigmoid sign sin softmax softplus softsign
        spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std stop_gradient sum tanh
        temporal_padding tile transpose truncated_normal var zeros_like
    """,
    "linalg": """
        adjoint band_part cholesky cross det diag diag_part einsum expm eye inv l2_normalize
        logdet matmul matrix_transpose matvec norm normalize pinv set_diag slogdet solve
        tensor_diag tensor_diag_part tensordot trace triangular_solve
    """,
    "math": """
        abs accumulate_n acos acosh add add_n angle argmax argmin asin asinh atan atan2 atanh
        bincount ceil conj cos cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma
        divide divide_no_nan equal erf erfc erfinv exp expm1 floor floordiv floormod greater
        greater_equal imag in_top_k invert_permutation is_finite is_inf is_nan l2_normalize less
        less_equal lgamma log log1p log_sigmoid log_softmax logical_and logical_not logical_or
        logical_xor maximum minimum mod multiply multiply_no_nan ndtri negative nextafter
        not_equal polyval pow real reciprocal reciprocal_no_nan reduce_all reduce_any
        reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
        reduce_std reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max segment_mean
        segment_min segment_prod segment_sum sigmoid sign sin sinh softmax softplus softsign sqrt
        square squared_difference subtract tan tanh top_k truediv unsorted_segment_max
        unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sum
        xdivy xlog1py xlogy zero_fraction
    """,
    "nn": """
        atrous_conv2d avg_pool avg_pool1d avg_pool2d avg_pool3d avg_pool_v2 batch_normalization
        bias_add conv1d conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose
        conv_transpose convolution crelu depth_to_space depthwise_conv2d depthwise_conv2d_native
        dilation2d dropout elu embedding_lookup erosion2d fused_batch_norm gelu in_top_k l2_loss
        l2_normalize leaky_relu local_response_normalization log_softmax lrn max_pool max_pool1d
        max_pool2d max_pool3d max_pool_v2 max_pool_with_argmax moments pool relu relu6 selu
        separable_conv2d sigmoid silu softmax softplus softsign space_to_batch space_to_depth
        swish tanh top_k zero_fraction
    """,
    "random": """
        categorical gamma normal poisson shuffle stateless_normal stateless_truncated_normal
        stateless_uniform truncated_normal uniform
    """,
    "signal": """
        dct fft fft2d fft3d fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d
        ifftshift inverse_stft irfft irfft2d irfft3d linear_to_mel_weight_matrix
        mfccs_from_log_mel_spectrograms overlap_and_add rfft rfft2d rfft3d stft
    """,
    "strings": """
        as_string bytes_split join length lower reduce_join regex_full_match regex_replace split
        strip substr to_hash_bucket to_hash_bucket_fast to_hash_bucket_strong to_number upper
    """,
}

#: The same functions as names of graph operations: TensorFlow 2.0 to 2.3 saved these names.
_IN_GRAPHS = """
    Abs Add AddN AddV2 ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BiasAdd BroadcastTo Cast
    Ceil ClipByValue ConcatV2 Const Conv2D Cos Cumsum DepthToSpace DepthwiseConv2dNative Div
    DivNoNan Elu Equal Erf Exp ExpandDims Fill Floor FloorDiv FloorMod GatherV2 Greater
    GreaterEqual Identity LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot
    LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg NotEqual OneHot
    OnesLike Pack Pad PadV2 Pow Prod Range RealDiv Relu Relu6 Reshape ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt Select SelectV2 Selu Shape Sigmoid
    Sign Sin Slice Softmax Softplus Softsign SpaceToDepth Split SplitV Sqrt Square
    SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tanh Tile TopKV2 Transpose Unpack
    Where ZerosLike
"""

_FUNCTIONS = frozenset(
    f"{space}.{name}" if space else name
    for space, names in _BY_NAMESPACE.items()
    for name in names.split()
)
_OPERATIONS = frozenset(_IN_GRAPHS.split())


def only_computes(function: object) -> bool:
    """Whether *function*, such as "math.add" or "compat.v1.nn.relu6", is listed."""
    return isinstance(function, str) and function.removeprefix("compat.v1.") in _FUNCTIONS


def operation_only_computes(operation: object) -> bool:
    """Whether *operation*, such as "AddV2", is listed."""
    return isinstance(operation, str) and operation in _OPERATIONS
