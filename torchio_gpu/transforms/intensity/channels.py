"""Parameters by channel: one for all channels of an image, or one for each."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ... import random
from ...arrays import Array, as_array, common, host, on_host, per_sample
from ...signature import is_number
from ..base import Context
from ..kinds import RandomTransform
from ..parameters.params import value_per_image, values_of


class ByChannel(RandomTransform):
    """Base of random transforms of intensities that draw for images or for their channels.

    Not for use by itself: a transform calls :meth:`_set_channels` when it is constructed, and
    :meth:`_draw_channels` when it draws.
    """

    #: Number of uniform numbers that one set of parameters takes.
    _numbers: ClassVar[int]
    by_channel: bool
    channel_p: float

    def _set_channels(self, by_channel: bool, channel_p: float) -> None:
        if not is_number(channel_p) or not 0 < channel_p <= 1:
            raise ValueError(f"channel_p must be > 0 and <= 1, got {channel_p!r}")
        self.by_channel, self.channel_p = by_channel, channel_p

    @property
    def _draws_channels(self) -> bool:
        return self.by_channel or self.channel_p < 1

    @property
    def draws(self) -> int:
        # of channels, two numbers that seed those of each: how many there are is not known yet
        shared = 0 if self.by_channel else self._numbers
        return shared + 2 if self._draws_channels else shared

    def _draw_channels(
        self, context: Context, u: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return uniform numbers [B, M, K, N] and the channels that change, [B, M, K] bool.

        The latter are None if all change.

        Args:
            context: The images.
            u: Uniform numbers of the images, [B, M, draws].
        """
        n = self._numbers
        if not self._draws_channels:
            return u[:, :, None, :n], None
        # numbers of a channel do not depend on how many there are
        channels = max(context.images.channels(name) for name in context.names)
        layout = random.Layout(((0, 0, channels * (n + 1)),))
        drawn = random.uniforms(random.to_seeds(u[..., -2:]).ravel(), layout)
        drawn = drawn[:, layout.columns[0]].reshape(*u.shape[:2], channels, n + 1)
        changes = drawn[..., n] < self.channel_p
        if self.by_channel:
            return drawn[..., :n], changes
        return np.broadcast_to(u[:, :, None, :n], (*u.shape[:2], channels, n)), changes


def where_changed(changes: np.ndarray | None, values: np.ndarray, neutral: float) -> np.ndarray:
    """Return values, but neutral ones for channels that do not change.

    Args:
        changes: Channels that change, as of :meth:`ByChannel._draw_channels`.
        values: Their values, [B, M, K].
        neutral: Value that has no effect.
    """
    return values if changes is None else np.where(changes, values, neutral)


def value_by_channel(value: Any, shape: tuple[int, ...], name: str, leading: bool = False) -> Array:
    """Return the value of an argument for one image, [1 or B, 1 or C, \\*shape].

    Args:
        value: Value of one channel, with or without an axis of samples and, after it, of channels.
        shape: Shape of the value of one channel.
        name: Name of the argument, for errors.
        leading: A single leading axis is that of channels, and not that of samples.

    Raises:
        ValueError: The shape is another one, or values are not finite.
    """
    array = as_array(value, name)
    extra = array.ndim - len(shape)
    if extra == 1 and leading:
        array, extra = array[None], 2
    if extra != 2:
        return per_sample(array, shape, name)[:, None]
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(np.shape(value))}")
    return per_sample(array, (int(array.shape[1]), *shape), name)


def check_positive(value: Any, name: str) -> None:
    """Raise a ValueError unless an argument is > 0, and a number, (C,) or (B, C), for each image.

    Args:
        value: Value, or a dict of values by image name; on a device it is not looked at.
        name: Name of the argument.
    """
    for each in values_of(value):
        array = as_array(each, name)
        if array.ndim > 2:
            raise ValueError(f"{name} must be a number, (C,) or (B, C), got {tuple(array.shape)}")
        if on_host(array) and not (host(array) > 0).all():
            raise ValueError(f"{name} must be > 0, got {each!r}")


def of_images(
    value: Any, shape: tuple[int, ...], name: str, context: Context, leading: bool = False
) -> Array:
    """Return the values of an argument for M images, [1 or B, M, K, \\*shape].

    K is 1, or the number of channels of the image that has most.

    Args:
        value: As for :func:`value_by_channel`, or a dict of these by image name.
        context: The images.
        shape, name, leading: See :func:`value_by_channel`.

    Raises:
        ValueError: An image has another number of channels, or as for :func:`value_by_channel`.
    """
    given = value_per_image(value, name, context.names)
    columns = [value_by_channel(each, shape, name, leading) for each in given]
    for image, column in zip(context.names, columns, strict=True):
        channels = context.images.channels(image)
        if column.shape[1] not in (1, channels):
            raise ValueError(
                f"{name} must be one value, or one for each channel of {image!r}, which has "
                f"{channels}, got {column.shape[1]}"
            )
    xp, *columns = common(*columns)
    batch = max(len(column) for column in columns)
    channels = max(column.shape[1] for column in columns)
    for n, column in enumerate(columns):
        lacking = channels - column.shape[1]
        if lacking and column.shape[1] > 1:  # they are not looked at
            filler = xp.zeros_like(column[:, :1])
            columns[n] = xp.concatenate([column, *[filler] * lacking], 1)
    return xp.stack([xp.broadcast_to(c, (batch, channels, *c.shape[2:])) for c in columns], 1)  # type: ignore[no-any-return]


__all__ = ["ByChannel", "check_positive", "of_images", "value_by_channel", "where_changed"]
