"""The traditional methods of every table."""

from __future__ import annotations

from functools import partial

from headrace.core.settings import RankingSettings
from headrace.data.log import EventLog, Floats
from headrace.ranking.baselines.content import Content
from headrace.ranking.baselines.item_knn import ItemKnn
from headrace.ranking.baselines.markov import Markov
from headrace.ranking.baselines.popular import Popular, PopularWeek
from headrace.ranking.baselines.served import Counts
from headrace.ranking.baselines.user_knn import UserKnn
from headrace.ranking.evaluation import MethodMaker


def traditional_methods(log: EventLog, content: Floats | None, settings: RankingSettings) -> list[MethodMaker]:
    """Return what makes each method, `popular` first.

    Args:
        log: without times, there is no last week.
        content: (V + 1, C) of the items, a row of zeros where nothing is known; None leaves `content` out.
        settings: the knobs of the counts.
    """
    makers: list[MethodMaker] = [Popular]
    if log.has_times:
        makers.append(PopularWeek)
    makers += [UserKnn, ItemKnn]
    if content is not None:
        makers.append(partial(Content, vectors=content))
    return [*makers, Markov, partial(Counts, settings=settings)]
