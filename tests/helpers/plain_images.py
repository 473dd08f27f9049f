"""Operations on images restated as loops over every output."""

import numpy as np


def both(size):
    return size if isinstance(size, tuple) else (size, size)


def padded(x, padding, fill=0.0):
    (B, C, H, W), (ph, pw) = x.shape, both(padding)
    larger = np.full((B, C, H + 2 * ph, W + 2 * pw), fill)
    larger[:, :, ph : ph + H, pw : pw + W] = x
    return larger


def reach(length, kernel, stride, dilation):
    """How many windows fit, found by trying."""
    count = 0
    while count * stride + (kernel - 1) * dilation < length:
        count += 1
    return count


def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    x, stride, dilation = padded(x, padding), both(stride), both(dilation)
    O, part, *kernel = weight.shape
    out = np.zeros((len(x), O, *map(reach, x.shape[2:], kernel, stride, dilation)))
    for b, o, i, j in np.ndindex(out.shape):
        first = o // (O // groups) * part  # the channels of this output's group
        for c, u, v in np.ndindex(part, *kernel):
            pixel = x[b, first + c, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
            out[b, o, i, j] += pixel * weight[o, c, u, v]
        out[b, o, i, j] += 0 if bias is None else bias[o]
    return out


def pooled(reduce, fill):
    def pool(x, *, kernel, stride=None, padding=0):
        x, kernel = padded(x, padding, fill), both(kernel)
        stride = both(kernel if stride is None else stride)
        out = np.zeros((*x.shape[:2], *map(reach, x.shape[2:], kernel, stride, (1, 1))))
        for b, c, i, j in np.ndindex(out.shape):
            top, left = i * stride[0], j * stride[1]
            out[b, c, i, j] = reduce(x[b, c, top : top + kernel[0], left : left + kernel[1]])
        return out

    return pool


PLAIN = {"conv2d": conv2d, "avg_pool2d": pooled(np.mean, 0.0), "max_pool2d": pooled(np.max, -np.inf)}
