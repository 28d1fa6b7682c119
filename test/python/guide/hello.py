from descarteslabs.ext.tasks import AsyncTasks, as_completed

def hello(i):
    import geopandas 
    print(geopandas) 
    return "hello {}".format(i) 

at = AsyncTasks()
async_func = at.create_function(
hello,
name='hello',
image="us.gcr.io/dl-ci-cd/images/tasks/public/geospatial/geospatial-public:latest",
)

task = async_func(5)

print task.result
print task.log
