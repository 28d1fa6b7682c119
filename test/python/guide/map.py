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

tasks = async_func.map(range(20))

for task in as_completed(tasks):
    try:
        print(task.result)
    except:
        print(task.exception)
        print(task.log)
