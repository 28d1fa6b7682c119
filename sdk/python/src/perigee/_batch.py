"""The tasks of one submission, as a client knows them: what their futures share."""
from perigee._outcome import Outcome, outcome_of_record


class Batch(object):
    """Attributes
    ----------
    group_id : str or None
        None until known: a future rebuilt from its ids trusts the coordinator, not the caller.
    submitted_after : int or None
        No outcome of the batch has this number or a lower one. None until known.
    is_covered : bool
        Every outcome of the batch up to the follower's position is in `records`.
    """

    __slots__ = ('number', 'group_id', 'submitted_after', 'is_covered', 'records', '__weakref__')

    def __init__(self, number):
        self.number = number
        self.group_id = None
        self.submitted_after = None
        self.is_covered = False
        # By index: a record as it came, or the `Outcome` read from it once someone looked.
        self.records = {}

    def find_outcome(self, index):
        """The outcome of a task, or None when it is not known here."""
        record = self.records.get(index)
        if record is None or isinstance(record, Outcome):
            return record
        outcome = self.records[index] = outcome_of_record(record)
        return outcome
