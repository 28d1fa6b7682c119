from descarteslabs.ext.tasks import AsyncTasks
at = AsyncTasks()
at.create_namespace()
